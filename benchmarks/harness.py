"""Datasets x codecs x settings -> rows on disk: planned, measured in processes, resumed where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from siglum.benchmarks.coder import CATALOGUE, Coder, Dial, MissingPeer, check_names, make
from siglum.benchmarks.items import Dataset, Medium, find
from siglum.benchmarks.machine import commit, machine, versions
from siglum.benchmarks.measure import Bench, Task, kept_path, row_of
from siglum.benchmarks.metric_list import Metric, choose
from siglum.benchmarks.rows import Key, Row, line_of, read_rows, write_rows
from siglum.errors import UsageError
from siglum.executor import Outcome, work_through

DEFAULT_CODECS: dict[Medium, tuple[str, ...]] = {
    "image": ("image", "jpeg", "jpeg2000", "webp", "avif", "jxl", "heif"),
    "audio": ("audio", "opus", "opus-voip", "aac", "mp3", "vorbis"),
    "tensor": ("tensor", "tensor-lossy", "zstd", "lz4", "zfp"),
}
QUICK_ITEMS = 3


@dataclass(frozen=True)
class Plan:
    """All that will be measured.

    Attributes
    ----------
    datasets, coders, metrics
        What is measured of what, how.
    tasks
        One a row, in the order of the rows: by item, codec, dial.
    absent
        Rows that say which codecs are missing, and why.
    absent_metrics
        The same of metrics, by name.
    threads
        Of every codec that can use more than one.
    """

    datasets: list[Dataset]
    coders: dict[str, Coder]
    metrics: tuple[Metric, ...]
    tasks: list[Task]
    absent: list[Row] = field(default_factory=list)
    absent_metrics: dict[str, str] = field(default_factory=dict)
    threads: int = 1

    def run_line(self, command: str) -> dict[str, Any]:
        """Return what the first line of the rows says."""
        return {
            "command": command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "data": [
                {"path": str(dataset.path), "items": len(dataset.items), "sha256": dataset.sha256}
                for dataset in self.datasets
            ],
            "threads": self.threads,
            "seed": 0,  # of the bootstrap; nothing that is measured is drawn at random
            "missing_metrics": self.absent_metrics,
        }


def plan(
    paths: Sequence[Path],
    codecs: list[str] | None = None,
    dials: dict[str, tuple[float, ...]] | None = None,
    metrics: list[str] | None = None,
    *,
    limit: int | None = None,
    quick: bool = False,
    threads: int = 1,
    coders: Callable[[str, int], Coder] = make,
) -> Plan:
    """Find the items, the codecs and the metrics.

    Parameters
    ----------
    paths
        Folders and files.
    codecs
        Names; None for those that are usual for the media that are found.
    dials
        Values of the dials by codec, in place of its own; the key "" is for all that are not named.
    metrics
        Names; None for those that are usual.
    limit, quick
        At most so many items of each path; three items and a few values of each dial.
    threads
        Of every codec that can use more than one.
    coders
        Makes a coder from its name and a number of threads.

    Raises
    ------
    FileNotFoundError, UnsupportedInputError
        If there is nothing to be coded.
    UsageError
        If a name is unknown, or a codec has nothing to code.
    """
    datasets = find(paths, min(limit or QUICK_ITEMS, QUICK_ITEMS) if quick else limit)
    media: dict[Medium, None] = {item.medium: None for dataset in datasets for item in dataset.items}
    names = codecs if codecs is not None else [name for medium in media for name in DEFAULT_CODECS[medium]]
    check_names(names)
    made: dict[str, Coder] = {}
    absent: list[Row] = []
    for name in dict.fromkeys(names):
        if CATALOGUE[name][0] not in media:
            raise UsageError(f"{name} codes {CATALOGUE[name][0]}s, and there are none below the paths given")
        try:
            made[name] = coders(name, threads)
        except MissingPeer as error:
            absent.append(Row(name, failure={"stage": "missing", "message": str(error)}))
        except Exception as error:  # a package that is there and broken
            message = f"{type(error).__name__}: {error}"
            absent.append(Row(name, failure={"stage": "missing", "message": message}))
    wanted = choose(metrics, set(media))
    lacking = {metric.name: hint for metric in wanted if (hint := metric.missing()) is not None}
    given = dials or {}
    for name in given:
        if name and name not in names:
            raise UsageError(f"-q names {name}, which is not among the codecs")
    tasks = [
        Task(item, digest, coder.name, dial)
        for dataset in datasets
        for item, digest in zip(dataset.items, dataset.digests, strict=True)
        for coder in made.values()
        if coder.medium == item.medium
        for dial in _dials(coder, given, quick)
    ]
    present = tuple(metric for metric in wanted if metric.name not in lacking)
    return Plan(datasets, made, present, tasks, absent, lacking, threads)


def run(
    planned: Plan,
    rows_path: Path,
    command: str,
    *,
    jobs: int = 1,
    keep: Path | None = None,
    resume: bool = False,
    progress: Callable[[Iterable[Row], int], Iterable[Row]] = lambda rows, count: rows,
    coders: Callable[[str, int], Coder] = make,
) -> list[Row]:
    """Measure what is planned and leave the rows in a file, in the plan's order; returns them.

    Every row is on disk as soon as it is measured, so a run that is ended can be resumed.

    Parameters
    ----------
    planned
        See `plan`.
    rows_path
        The file. Without ``resume`` it is written anew.
    command
        What repeats the run.
    jobs
        Processes to measure in; with more than one, they slow each other down.
    keep
        Folder for streams and decoded items.
    resume
        Take over the rows of the file that are whole, of the same contents, settings, versions and machine,
        and have the metrics; rows of failures are measured again. Rows of the same items by other codecs, or at
        other settings, stay at the end.
    progress
        Passes the rows to be measured on, and may show how many of a number are done.

    Raises
    ------
    UsageError
        If the file holds something else, or rows of another machine.
    """
    header = planned.run_line(command)
    known: dict[Key, Row] = {}
    others: list[Row] = []
    if resume and rows_path.exists():
        known, others = _kept(rows_path, planned, header, keep)
    keys = [row_of(task, planned.coders[task.codec]).key for task in planned.tasks]
    done = {index: known[key] for index, key in enumerate(keys) if key in known}
    todo = [index for index in range(len(keys)) if index not in done]
    write_rows(rows_path, header, [*planned.absent, *(done[index] for index in sorted(done)), *others])
    bench = Bench(planned.metrics, planned.threads, keep, coders)
    # In processes even if it is one: compiled code that crashes then costs a row, not the run.
    outcomes = work_through(bench, [planned.tasks[i] for i in todo], jobs=jobs, isolated=True)
    with rows_path.open("a") as file:

        def written() -> Iterator[Row]:
            for outcome in outcomes:
                index = todo[outcome.index]
                done[index] = _row_of(planned, planned.tasks[index], outcome)
                file.write(line_of(done[index]))
                file.flush()
                yield done[index]

        for _ in progress(written(), len(todo)):
            pass
    rows = [*planned.absent, *(done[index] for index in sorted(done)), *others]
    write_rows(rows_path, header, rows)
    return rows


def _dials(coder: Coder, given: dict[str, tuple[float, ...]], quick: bool) -> tuple[Dial, ...]:
    if coder.dials == (None,):
        return coder.dials
    usual = coder.quick if quick else coder.dials
    # As floats whoever gives them: 50 and 50.0 make one row.
    return tuple(
        None if dial is None else float(dial) for dial in given.get(coder.name, given.get("", usual))
    )


def _kept(
    path: Path, planned: Plan, header: dict[str, Any], keep: Path | None
) -> tuple[dict[Key, Row], list[Row]]:
    """Return the rows that need not be measured again, and those of other codecs and settings that stand."""
    run, rows = read_rows(path)
    if run and run.get("machine") != header["machine"]:
        raise UsageError(
            f"{path} was measured on another machine; times of two are not mixed: name a new file"
        )
    names = {metric.name: metric.medium for metric in planned.metrics}
    tasks = {row_of(task, planned.coders[task.codec]).key: task for task in planned.tasks}
    digests = {(task.item.name, task.item_sha256) for task in planned.tasks}
    kept, others = {}, []
    for row in rows:
        wanted = {name for name, medium in names.items() if medium in (row.medium, None)}
        coder = planned.coders.get(row.codec)
        if coder is not None and row.key in tasks:
            there = keep is None or kept_path(keep, tasks[row.key], coder.suffix).exists()
            if row.failure is None and wanted <= row.metrics.keys() and there:
                kept[row.key] = row
        elif (row.item, row.item_sha256) in digests and (
            coder is None or (row.version, row.threads) == (coder.version, coder.threads)
        ):
            others.append(row)
    return kept, others


def _row_of(planned: Plan, task: Task, outcome: Outcome[Row]) -> Row:
    if outcome.result is not None:
        return outcome.result
    # What the process was doing when it died, it cannot say; a codec's own code is likeliest.
    row = row_of(task, planned.coders[task.codec])
    return replace(row, failure={"stage": "encode", "message": str(outcome.error)})
