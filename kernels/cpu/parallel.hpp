// Teams of threads that run functions over ranges of rows. Their workers outlive them: they wait, parked, for the next
// team, since to start a thread takes longer than many a function.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace siglum {

class Worker;

// A team is one caller's: others have teams of their own, with other workers. Each call returns when its function has
// seen all of its range, so that two calls in a row have a barrier between them. The caller waits for nobody but workers
// that have begun: where the CPUs are busy it does what they would have done. The first exception is thrown again in the
// caller, after all have finished. Results do not depend on how many threads take part.
class Team {
 public:
  using Range = std::function<void(std::size_t begin, std::size_t end)>;

  // At most so many members, the caller among them; fewer where the system refuses a thread.
  explicit Team(std::size_t threads);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  std::size_t size() const { return workers_.size() + 1; }

  // Splits [0, count) into one range a member.
  void rows(std::size_t count, const Range& function);

  // Splits [0, count) into parts of `length` or less that members take as they get free.
  void parts(std::size_t count, std::size_t length, const Range& function) {
    parts_besides([] {}, count, length, function);
  }

  // The same; the caller runs another function before it joins in.
  template <class First>
  void parts_besides(const First& first, std::size_t count, std::size_t length, const Range& function) {
    std::atomic<std::size_t> next{0};
    together([&](bool is_caller) {
      if (is_caller) first();
      for (std::size_t begin = next.fetch_add(length); begin < count; begin = next.fetch_add(length)) {
        function(begin, std::min(count, begin + length));
      }
    });
  }

 private:
  friend class Worker;
  using Member = std::function<void(bool is_caller)>;
  class State;

  // Calls the function in the caller and in every worker that comes before that has returned.
  void together(const Member& function);

  std::shared_ptr<State> state_;  // workers may look at it a little longer than the team is there
  std::vector<Worker*> workers_;
};

}  // namespace siglum
