// Teams of threads that run functions over ranges of rows. Their workers outlive them: they wait, parked, for the next
// team, since to start a thread takes longer than many a function.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <vector>

namespace siglum {

class Worker;

// A team is one caller's: others have teams of their own, with other workers. Each call of `rows` or `each` returns
// when all members are done, so that two calls in a row have a barrier between them. The first exception of a member is
// thrown again in the caller, after all members have finished. Where the system refuses a thread the team is smaller;
// results do not depend on its size.
class Team {
 public:
  using Range = std::function<void(std::size_t begin, std::size_t end)>;
  using Member = std::function<void(std::size_t member)>;

  // At most so many members, the caller among them.
  explicit Team(std::size_t threads);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  std::size_t size() const { return workers_.size() + 1; }

  // Splits [0, count) into one range a member.
  void rows(std::size_t count, const Range& function);

  // Calls function(member) once for each member; the caller is number 0.
  void each(const Member& function);

  // Splits [0, count) into parts of `length` or less that members take as they get free. Of two functions, the caller
  // runs the first alone before it joins the others in the second.
  void parts(std::size_t count, std::size_t length, const Range& function);
  template <class First>
  void parts_besides(const First& first, std::size_t count, std::size_t length, const Range& function) {
    std::atomic<std::size_t> next{0};
    each([&](std::size_t member) {
      if (!member) first();
      take(next, count, length, function);
    });
  }

 private:
  friend class Worker;

  static void take(std::atomic<std::size_t>& next, std::size_t count, std::size_t length, const Range& function);
  void run(std::size_t member);
  void work(std::size_t member);  // of a worker, until the team ends
  void begin();
  void stop();

  std::vector<Worker*> workers_;
  const Member* function_ = nullptr;
  std::atomic<std::uint32_t> round_{0};     // odd steps do not matter: a new value is a new function, or the end
  std::atomic<std::size_t> running_{0};     // workers that are not done with this round
  std::atomic<std::size_t> parked_{0};      // members that wait for a notice
  bool stopping_ = false;
  std::mutex mutex_;                        // of parking and of error_
  std::condition_variable notice_;
  std::exception_ptr error_;
};

}  // namespace siglum
