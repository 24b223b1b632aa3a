"use strict";
(() => {
  const all = (where, what) => Array.from(where.querySelectorAll(what));
  const root = document.documentElement;
  const minus = (text) => text.replace(/−/g, "-").replace(/∞/g, "Infinity").replace(/,/g, "");

  // Colours. Storage may be refused to a page from a file.
  const theme = document.getElementById("theme");
  const stored = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("siglum-theme") || "";
      localStorage.setItem("siglum-theme", value);
    } catch { /* the choice lasts as long as the page */ }
    return "";
  };
  const paint = (value) => { if (value) root.dataset.theme = value; else delete root.dataset.theme; };
  theme.value = stored();
  paint(theme.value);
  theme.addEventListener("change", () => { paint(theme.value); stored(theme.value); });

  // Anchor and metric: everything was computed beforehand, here it is shown or hidden.
  for (const board of all(document, ".board")) {
    const chosen = all(board, "[data-choose]");
    const show = () => {
      for (const part of all(board, "[data-anchor], [data-metric]"))
        part.hidden = chosen.some((select) => part.dataset[select.dataset.choose] !== undefined
          && part.dataset[select.dataset.choose] !== select.value);
    };
    chosen.forEach((select) => select.addEventListener("change", show));
    if (chosen.length) show();
    all(board, "form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));
    for (const box of all(board, "[data-curve]"))
      box.addEventListener("change", () => {
        for (const line of all(board, ".plot .published"))
          if (line.dataset.name === box.dataset.curve) line.toggleAttribute("hidden", !box.checked);
      });
  }

  // Plots: what lies nearest to the pointer, or the arrow keys, is named.
  const tip = document.getElementById("tip");
  let lit = null;
  const light = (dot, x, y) => {
    if (lit) lit.classList.remove("on");
    lit = dot;
    tip.hidden = !dot;
    if (!dot) return;
    dot.classList.add("on");
    tip.textContent = dot.querySelector("title").textContent;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = (y - box.height - 12 < 4 ? y + 16 : y - box.height - 12) + "px";
  };
  const middle = (dot) => {
    const box = dot.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const lightAtItself = (dot) => light(dot, ...middle(dot));
  for (const plot of all(document, "svg.plot")) {
    const curves = () => all(plot, ".series:not([hidden])").reverse().map((line) => all(line, ".dot"));
    plot.addEventListener("pointermove", (event) => {
      let best = null, least = 60;
      for (const dot of curves().flat()) {
        const [x, y] = middle(dot);
        const distance = Math.hypot(x - event.clientX, y - event.clientY);
        if (distance < least) { best = dot; least = distance; }
      }
      light(best, event.clientX, event.clientY);
    });
    plot.addEventListener("pointerleave", () => light(null));
    plot.addEventListener("blur", () => light(null));
    plot.addEventListener("focus", () => {
      if (plot.matches(":focus-visible") && curves().length) lightAtItself(curves()[0][0]);
    });
    plot.addEventListener("keydown", (event) => {
      const lines = curves();
      if (event.key === "Escape") return light(null);
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step || !lines.length) return undefined;
      event.preventDefault();
      let line = lines.findIndex((dots) => dots.includes(lit)), at = line < 0 ? 0 : lines[line].indexOf(lit);
      line = line < 0 ? 0 : (line + step[0] + lines.length) % lines.length;
      at = Math.max(0, Math.min(at + step[1], lines[line].length - 1));
      return lightAtItself(lines[line][at]);
    });
  }

  // Tables: headings sort, numbers as numbers, gaps last.
  for (const table of all(document, "table.sortable")) {
    const heads = all(table.tHead, "th"), body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const turn = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
        const keyed = Array.from(body.rows).map((row) => {
          const text = row.cells[column].textContent.trim();
          return [row, text, text === "–" ? NaN : Number(minus(text))];
        });
        const numeric = keyed.some((entry) => !Number.isNaN(entry[2]));
        keyed.sort((a, b) => {
          if (!numeric) return turn * a[1].localeCompare(b[1], undefined, { numeric: true });
          if (Number.isNaN(a[2]) || Number.isNaN(b[2])) return Number.isNaN(a[2]) - Number.isNaN(b[2]);
          return turn * (a[2] - b[2]);
        });
        body.append(...keyed.map((entry) => entry[0]));
      });
    });
  }

  const said = (button, text) => {
    const before = button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  for (const button of all(document, "[data-copy]"))
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        said(button, "Copied");
      } catch {
        getSelection().selectAllChildren(source);
        said(button, "Selected");
      }
    });
  for (const button of all(document, "[data-csv]"))
    button.addEventListener("click", () => {
      const cell = (one) => {
        const full = one.querySelector("code[title]"), text = full ? full.title : one.textContent.trim();
        const safe = /^[=+@\t]/.test(text) ? "'" + text : text; // no formulas in a spreadsheet
        return '"' + safe.replace(/−/g, "-").replace(/"/g, '""') + '"';
      };
      const rows = Array.from(document.getElementById(button.dataset.csv).rows);
      const text = rows.map((row) => Array.from(row.cells).map(cell).join(",")).join("\n") + "\n";
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.download = "measurements.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });

  const fill = (select, entries, wanted) => {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
    if (entries.some(([value]) => value === wanted)) select.value = wanted;
  };
  const nearest = (versions, rate) => versions.reduce((best, one) =>
    Math.abs(Math.log(one.rate / rate)) < Math.abs(Math.log(best.rate / rate)) ? one : best);
  const shown = (rate, unit) => rate.toPrecision(3).replace(/^(\d{4,})\.?\d*$/, "$1") + " " + unit;
  const ORIGINAL = " original"; // no codec has a name that begins with a space

  for (const viewer of all(document, "[data-viewer]")) {
    const data = JSON.parse(viewer.querySelector("script").textContent);
    const v = Object.fromEntries(all(viewer, "[data-v]").map((part) => [part.dataset.v, part]));
    let cut = 50, timer = null, paused = false;
    const entry = () => data.items[Number(v.item.value)];
    const version = (name, rate) => name === ORIGINAL ? entry().original
      : entry().codecs[name] ? nearest(entry().codecs[name], rate) : null;
    const offer = () => {
      const names = Object.keys(entry().codecs).map((name) => [name, name]);
      const sides = entry().original ? [[ORIGINAL, "original"], ...names] : names;
      fill(v.left, sides, v.left.value || names[0][0]);
      fill(v.right, sides, v.right.value || (names[1] || sides[0])[0]);
      rates();
    };
    const rates = () => {
      // The rates to choose from are those of the first side that has any; the other side follows.
      const lead = [v.left.value, v.right.value].find((name) => entry().codecs[name]);
      const listed = lead ? entry().codecs[lead] : [];
      const before = Number(v.rate.value) || best(listed, lead === v.left.value ? v.right.value : v.left.value);
      fill(v.rate, listed.map((one) => [String(one.rate), shown(one.rate, data.unit)]));
      if (listed.length) v.rate.value = String(nearest(listed, before).rate);
      show();
    };
    const best = (listed, other) => {
      // To begin with, the pair that matches best among the lower half of the rates, where codecs differ.
      const some = listed.slice(listed.length > 3 ? 1 : 0, Math.max(1, Math.ceil(listed.length / 2))), against = entry().codecs[other];
      if (!some.length) return 1;
      if (!against) return some[some.length - 1].rate;
      const off = (one) => Math.abs(Math.log(nearest(against, one.rate).rate / one.rate));
      return some.reduce((least, one) => off(one) < off(least) ? one : least).rate;
    };
    const side = (where, name, one) => {
      const head = document.createElement("b");
      head.textContent = name === ORIGINAL ? "original" : name + " · " + (one ? shown(one.rate, data.unit) : "none");
      where.replaceChildren(head, name === ORIGINAL || !one ? "" :
        (one.dial === null ? "" : "setting " + one.dial + ", ") + one.quality);
    };
    const show = () => {
      const rate = Number(v.rate.value) || 1;
      const left = version(v.left.value, rate), right = version(v.right.value, rate);
      v.a.src = left ? left.src : "";
      v.b.src = right ? right.src : "";
      v.a.alt = entry().item + ", " + v.left.value.trim();
      v.b.alt = entry().item + ", " + v.right.value.trim();
      side(v["left-text"], v.left.value, left);
      side(v["right-text"], v.right.value, right);
      const ratio = left && right && left.rate && right.rate ? left.rate / right.rate : null;
      const off = ratio ? 100 * Math.abs(ratio - 1) : 0;
      v.note.classList.toggle("far", off > 10);
      v.note.textContent = ratio === null ? "Right against left: a rate is chosen, the original has none." :
        "Matched in rate: " + shown(left.rate, data.unit) + " on the left, " + shown(right.rate, data.unit)
        + " on the right (" + (off < 0.5 ? "the same" : "the left has " + off.toFixed(0) + " % " + (ratio > 1 ? "more" : "less"))
        + (off > 10 ? ": no setting comes closer)." : ").");
    };
    const mode = () => {
      const zoom = Number(v.zoom.value);
      v.stage.className = "stage " + v.mode.value + (zoom ? " zoomed" : " fit");
      for (const part of all(viewer, "[data-only]")) part.hidden = part.dataset.only !== v.mode.value;
      v.stage.style.setProperty("--gain", v.gain.value);
      for (const image of [v.a, v.b]) image.style.width = zoom && image.naturalWidth ? zoom * image.naturalWidth + "px" : "";
      clearInterval(timer);
      timer = v.mode.value === "flicker" && !paused ? setInterval(swap, 600) : null;
      v.pause.textContent = paused ? "Go on" : "Pause";
      mark();
    };
    const mark = () => {
      const flicker = v.mode.value === "flicker", second = v.stage.classList.contains("swap");
      v["left-text"].classList.toggle("now", flicker && !second);
      v["right-text"].classList.toggle("now", flicker && second);
    };
    const swap = () => { v.stage.classList.toggle("swap"); mark(); };
    const slide = (to) => { cut = Math.max(0, Math.min(100, to)); v.canvas.style.setProperty("--cut", cut + "%"); };
    const drag = (event) => {
      if (v.mode.value !== "slider" || (event.type === "pointermove" && !event.buttons)) return;
      const box = v.canvas.getBoundingClientRect();
      slide(100 * (event.clientX - box.left) / box.width);
    };
    v.canvas.addEventListener("pointerdown", (event) => { v.canvas.setPointerCapture(event.pointerId); drag(event); });
    v.canvas.addEventListener("pointermove", drag);
    v.stage.addEventListener("keydown", (event) => {
      const modes = ["slider", "flicker", "difference", "side"];
      if ("1234".includes(event.key)) { v.mode.value = modes[Number(event.key) - 1]; mode(); }
      else if (event.key === " " && v.mode.value === "flicker") { paused = true; mode(); swap(); }
      else if (v.mode.value === "slider" && event.key === "ArrowLeft") slide(cut - 2);
      else if (v.mode.value === "slider" && event.key === "ArrowRight") slide(cut + 2);
      else return;
      event.preventDefault();
    });
    fill(v.item, data.items.map((one, i) => [String(i), one.item]));
    v.item.addEventListener("change", offer);
    v.left.addEventListener("change", rates);
    v.right.addEventListener("change", rates);
    v.rate.addEventListener("change", show);
    [v.mode, v.zoom, v.gain].forEach((select) => select.addEventListener("change", mode));
    [v.a, v.b].forEach((image) => image.addEventListener("load", mode));
    v.pause.addEventListener("click", () => { paused = !paused; mode(); });
    offer();
    mode();
  }

  for (const players of all(document, "[data-players]")) {
    const data = JSON.parse(players.querySelector("script").textContent);
    const p = Object.fromEntries(all(players, "[data-p]").map((part) => [part.dataset.p, part]));
    let voices = [], heard = 0;
    const lead = () => voices[0] && voices[0].audio;
    const hear = (index) => {
      heard = index;
      voices.forEach((voice, i) => {
        voice.audio.muted = i !== index;
        voice.button.setAttribute("aria-checked", String(i === index));
        voice.button.tabIndex = i === index ? 0 : -1;
      });
    };
    const together = (time) => voices.forEach((voice) => { voice.audio.currentTime = time; });
    const state = (playing) => {
      p.play.textContent = playing ? "Stop" : "Play";
      p.play.setAttribute("aria-pressed", String(playing));
    };
    const stop = () => { voices.forEach((voice) => voice.audio.pause()); state(false); };
    const start = () => {
      if (!lead()) return;
      const time = lead().ended ? 0 : lead().currentTime;
      together(time);
      Promise.all(voices.map((voice) => voice.audio.play())).then(() => state(true), stop);
    };
    const show = () => {
      stop();
      const one = data.items[Number(p.item.value)], rate = Number(p.rate.value) || 1;
      const parts = one.original ? [["original", one.original]] : [];
      for (const [name, versions] of Object.entries(one.codecs)) parts.push([name, nearest(versions, rate)]);
      const loud = parts.every(([, part]) => part.rms > 0);
      const least = Math.min(...parts.map(([, part]) => part.rms));
      p.loud.textContent = loud ? "They are set equally loud." : "Not all could be measured: they are as loud as they are.";
      voices = parts.map(([name, part], i) => {
        const button = document.createElement("button"), audio = new Audio(part.src);
        audio.preload = "auto";
        audio.volume = loud ? least / part.rms : 1;
        button.type = "button";
        button.className = "voice";
        button.setAttribute("role", "radio");
        const head = document.createElement("b"), text = document.createElement("small");
        head.textContent = (i + 1) + "  " + name + (part.rate ? " · " + shown(part.rate, data.unit) : "");
        text.textContent = part.quality || "";
        button.append(head, text);
        if (part.spectrogram) {
          const frame = document.createElement("span"), image = document.createElement("img");
          frame.className = "spectrum";
          image.src = part.spectrogram;
          image.alt = "spectrogram of " + name;
          frame.append(image, document.createElement("i"));
          button.append(frame);
        }
        button.addEventListener("click", () => hear(i));
        return { button, audio };
      });
      p.voices.replaceChildren(...voices.map((voice) => voice.button));
      if (!voices.length) return;
      lead().addEventListener("timeupdate", () => {
        const share = lead().currentTime / (lead().duration || 1);
        p.seek.value = String(Math.round(1000 * share));
        for (const mark of all(players, ".spectrum i")) mark.style.left = 100 * share + "%";
        // What drifted apart is put together again.
        for (const voice of voices.slice(1))
          if (Math.abs(voice.audio.currentTime - lead().currentTime) > 0.05) voice.audio.currentTime = lead().currentTime;
      });
      lead().addEventListener("ended", () => { if (p.loop.checked) start(); else stop(); });
      hear(Math.min(heard, voices.length - 1));
    };
    const offer = () => {
      const versions = Object.values(data.items[Number(p.item.value)].codecs)[0] || [];
      const before = Number(p.rate.value) || (versions.length ? versions[versions.length >> 1].rate : 1);
      fill(p.rate, versions.map((one) => [String(one.rate), shown(one.rate, data.unit)]));
      if (versions.length) p.rate.value = String(nearest(versions, before).rate);
      show();
    };
    p.play.addEventListener("click", () => { if (lead() && !lead().paused) stop(); else start(); });
    p.seek.addEventListener("input", () => { if (lead()) together(Number(p.seek.value) / 1000 * (lead().duration || 0)); });
    p.rate.addEventListener("change", show);
    p.item.addEventListener("change", offer);
    players.addEventListener("keydown", (event) => {
      if (event.target.matches("select, input")) return;
      const to = { ArrowLeft: heard - 1, ArrowUp: heard - 1, ArrowRight: heard + 1, ArrowDown: heard + 1 }[event.key]
        ?? (/^[1-9]$/.test(event.key) ? Number(event.key) - 1 : NaN);
      if (!voices[to]) return;
      event.preventDefault();
      hear(to);
      voices[to].button.focus();
    });
    fill(p.item, data.items.map((one, i) => [String(i), one.item + (one.about ? " · " + one.about : "")]));
    offer();
  }
})();
