// A team of threads that lives for one call and runs functions over ranges of rows.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace siglum {

// Each call of `rows` splits [0, count) into one range a member and returns when all are done, so that two
// calls in a row have a barrier between them. The first exception of a member is thrown again in the caller,
// after all members have finished. Where the system refuses a thread the team is smaller; results do not
// depend on its size.
class Team {
 public:
  using Function = std::function<void(std::size_t begin, std::size_t end)>;

  explicit Team(std::size_t threads) {
    try {
      for (std::size_t member = 1; member < threads; ++member)
        workers_.emplace_back([this, member] { work(member); });
    } catch (const std::system_error&) {
    } catch (...) {
      stop();
      throw;
    }
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team() { stop(); }

  std::size_t size() const { return workers_.size() + 1; }

  void rows(std::size_t count, const Function& function) {
    if (workers_.empty()) {
      if (count) function(0, count);
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      function_ = &function;
      count_ = count;
      members_ = size();
      running_ = workers_.size();
      error_ = nullptr;
      ++round_;
    }
    start_.notify_all();
    run(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
    function_ = nullptr;
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void run(std::size_t member) {
    const std::size_t share = count_ / members_, rest = count_ % members_;
    const std::size_t begin = member * share + (member < rest ? member : rest);
    const std::size_t end = begin + share + (member < rest ? 1 : 0);
    if (begin == end) return;
    try {
      (*function_)(begin, end);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void work(std::size_t member) {
    std::size_t seen = 0;
    while (true) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        start_.wait(lock, [&] { return stopping_ || round_ != seen; });
        if (stopping_) return;
        seen = round_;
      }
      run(member);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    start_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  std::mutex mutex_;
  std::condition_variable start_, done_;
  const Function* function_ = nullptr;
  std::size_t count_ = 0, members_ = 1, running_ = 0, round_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;  // last: the threads use everything above
};

}  // namespace siglum
