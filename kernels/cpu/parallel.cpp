#include "parallel.hpp"

#include <algorithm>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#define SIGLUM_POSIX 1
#endif

namespace siglum {
namespace {

constexpr unsigned spins = 2000;  // some 20 us: the next function is mostly there by then

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Looks again and again for a while, unless nobody else can run meanwhile.
template <class Condition>
bool soon(const Condition& condition) {
  static const unsigned looks = std::thread::hardware_concurrency() == 1 ? 1 : spins;
  for (unsigned look = 0; look < looks; ++look) {
    if (condition()) return true;
    relax();
  }
  return false;
}

}  // namespace

// A thread that serves one team after another. It is never joined: a process ends without it.
class Worker {
 public:
  // Throws std::system_error where there can be no further thread.
  Worker() {
    std::thread([this] { serve(); }).detach();
  }

  void join(Team* team, std::size_t member) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      member_ = member;
      team_.store(team, std::memory_order_release);
    }
    notice_.notify_one();
  }

  // The team is free to go when this is true: the worker does not look at it any more.
  bool is_free() const { return team_.load(std::memory_order_acquire) == nullptr; }

 private:
  void serve() {
    while (true) {
      Team* team;
      std::size_t member;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        notice_.wait(lock, [this] { return !is_free(); });
        team = team_.load(std::memory_order_acquire);
        member = member_;
      }
      team->work(member);
      team_.store(nullptr, std::memory_order_release);
    }
  }

  std::mutex mutex_;
  std::condition_variable notice_;
  std::atomic<Team*> team_{nullptr};
  std::size_t member_ = 0;
};

namespace {

// Workers without a team. It is never destroyed, since they may outlive everything that is.
class Idle {
 public:
  static Idle& get() {
    static Idle& idle = *new Idle;
    return idle;
  }

  // A worker, or nullptr where the system refuses one.
  Worker* take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!workers_.empty()) {
        Worker* const worker = workers_.back();
        workers_.pop_back();
        return worker;
      }
    }
#if defined(SIGLUM_POSIX)
    sigset_t all, before;  // signals are for the threads that know of them
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    Worker* worker = nullptr;
    try {
      worker = new Worker;
    } catch (const std::system_error&) {
    }
#if defined(SIGLUM_POSIX)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return worker;
  }

  void give(const std::vector<Worker*>& workers) {
    std::lock_guard<std::mutex> lock(mutex_);
    workers_.insert(workers_.end(), workers.begin(), workers.end());
  }

 private:
  Idle() {
#if defined(SIGLUM_POSIX)
    // A forked process has only the thread that forked: it starts its workers anew.
    pthread_atfork([] { get().mutex_.lock(); }, [] { get().mutex_.unlock(); },
                   [] {
                     get().workers_.clear();
                     get().mutex_.unlock();
                   });
#endif
  }

  std::mutex mutex_;
  std::vector<Worker*> workers_;
};

}  // namespace

Team::Team(std::size_t threads) {
  if (threads < 2) return;
  workers_.reserve(threads - 1);
  while (workers_.size() < threads - 1) {
    Worker* const worker = Idle::get().take();
    if (!worker) break;
    workers_.push_back(worker);
  }
  for (std::size_t member = 1; member <= workers_.size(); ++member) workers_[member - 1]->join(this, member);
}

Team::~Team() {
  if (workers_.empty()) return;
  stopping_ = true;
  begin();
  for (Worker* const worker : workers_) {
    while (!soon([worker] { return worker->is_free(); })) std::this_thread::yield();
  }
  Idle::get().give(workers_);
}

void Team::rows(std::size_t count, const Range& function) {
  const std::size_t members = std::min(size(), count), share = members ? count / members : 0, rest = count - share * members;
  if (members < 2) {
    if (count) function(0, count);
    return;
  }
  each([&](std::size_t member) {
    if (member >= members) return;
    const std::size_t begin = member * share + std::min(member, rest);
    function(begin, begin + share + (member < rest ? 1 : 0));
  });
}

void Team::parts(std::size_t count, std::size_t length, const Range& function) {
  parts_besides([] {}, count, length, function);
}

void Team::take(std::atomic<std::size_t>& next, std::size_t count, std::size_t length, const Range& function) {
  for (std::size_t begin = next.fetch_add(length); begin < count; begin = next.fetch_add(length)) {
    function(begin, std::min(count, begin + length));
  }
}

void Team::each(const Member& function) {
  if (workers_.empty()) return function(0);
  function_ = &function;
  running_.store(workers_.size(), std::memory_order_relaxed);
  error_ = nullptr;
  begin();
  run(0);
  const auto done = [this] { return running_.load() == 0; };
  if (!soon(done)) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++parked_;
    notice_.wait(lock, done);
    --parked_;
  }
  if (error_) std::rethrow_exception(error_);
}

void Team::begin() {
  ++round_;
  // Whoever parks counts itself first and looks at the round after that, so one of both sees the other.
  if (parked_.load() == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  notice_.notify_all();
}

void Team::run(std::size_t member) {
  try {
    (*function_)(member);
  } catch (...) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void Team::work(std::size_t member) {
  for (std::uint32_t seen = 0;; ++seen) {
    const auto next = [&] { return round_.load() != seen; };
    if (!soon(next)) {
      std::unique_lock<std::mutex> lock(mutex_);
      ++parked_;
      notice_.wait(lock, next);
      --parked_;
    }
    if (stopping_) return;
    run(member);
    if (--running_ == 0 && parked_.load() != 0) {
      { std::lock_guard<std::mutex> lock(mutex_); }
      notice_.notify_all();
    }
  }
}

}  // namespace siglum
