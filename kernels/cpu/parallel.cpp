#include "parallel.hpp"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#define SIGLUM_POSIX 1
#endif

namespace siglum {
namespace {

constexpr unsigned looks = 500;    // some 10 us: the next function, or the end of one, is mostly there by then
constexpr unsigned yields = 100;   // in which others may have the CPU

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
  static const unsigned most = std::thread::hardware_concurrency() == 1 ? 1 : looks;
  for (unsigned look = 0; look < most; ++look) {
    if (condition()) return true;
    relax();
  }
  return false;
}

}  // namespace

// What the caller and the workers of a team share. Rounds are numbered from 1; a round is open from its begin to its
// end, and whoever enters it in between is waited for.
class Team::State {
 public:
  void run(const Member& function) {
    function_ = &function;
    error_ = nullptr;
    announce();
    enter(function, true);
    closed_ = round_.load();
    const auto done = [this] { return inside_.load() == 0; };
    if (!soon(done)) park(done);
    if (error_) std::rethrow_exception(error_);
  }

  void stop() {
    stopping_ = true;
    announce();
  }

  // Of a worker, until the team ends.
  void work() {
    std::uint32_t seen = 0;
    const auto next = [&] { return round_.load() != seen; };
    while (true) {
      bool found = soon(next);
      for (unsigned turn = 0; !found && turn < yields; ++turn) {
        std::this_thread::yield();
        found = next();
      }
      if (!found) park(next);
      seen = round_.load();
      if (stopping_) return;
      // Whoever enters counts itself first and looks whether the round is over after that; the caller does it the other
      // way round, so one of both sees the other.
      ++inside_;
      if (static_cast<std::int32_t>(closed_.load() - seen) < 0) enter(*function_, false);
      if (--inside_ == 0) notify();
    }
  }

 private:
  void enter(const Member& function, bool is_caller) {
    try {
      function(is_caller);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void announce() {
    ++round_;
    notify();
  }

  template <class Condition>
  void park(const Condition& condition) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++parked_;
    notice_.wait(lock, condition);
    --parked_;
  }

  // Whoever parks counts itself first and looks at the condition after that.
  void notify() {
    if (parked_.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }
    notice_.notify_all();
  }

  const Member* function_ = nullptr;
  std::atomic<std::uint32_t> round_{0}, closed_{0};
  std::atomic<std::size_t> inside_{0};  // workers that may be in the function
  std::atomic<std::size_t> parked_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // of parking and of error_
  std::condition_variable notice_;
  std::exception_ptr error_;
};

// A thread that serves one team after another. It is never joined: a process ends without it.
class Worker {
 public:
  // Throws std::system_error where there can be no further thread.
  Worker() {
    std::thread([this] { serve(); }).detach();
  }

  // A team that it served before has ended, even if it has not seen that yet.
  void join(std::shared_ptr<Team::State> team) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      team_ = std::move(team);
    }
    notice_.notify_one();
  }

 private:
  void serve() {
    while (true) {
      std::shared_ptr<Team::State> team;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        notice_.wait(lock, [this] { return team_ != nullptr; });
        team = std::move(team_);
      }
      team->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable notice_;
  std::shared_ptr<Team::State> team_;
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
    if (!worker) return;
    workers_.push_back(worker);
  }
}

Team::~Team() {
  if (state_) state_->stop();
  if (!workers_.empty()) Idle::get().give(workers_);
}

void Team::rows(std::size_t count, const Range& function) {
  const std::size_t members = std::min(size(), count);
  parts(members, 1, [&](std::size_t first, std::size_t last) {
    function(count * first / members, count * last / members);
  });
}

void Team::together(const Member& function) {
  if (workers_.empty()) return function(true);
  if (!state_) {
    state_ = std::make_shared<State>();
    for (Worker* const worker : workers_) worker->join(state_);
  }
  state_->run(function);
}

}  // namespace siglum
