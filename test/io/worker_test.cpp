// What blocks runs on a thread of its own, and the flow that asked for it may be gone when it is done.
#include "io/worker.h"

#include <gtest/gtest.h>

#include <semaphore>

#include "base/scope.h"
#include "test/io/support.h"

namespace holdfast::io::test {
namespace {

struct WorkerTest : testing::Test {
  Task<void> ask() {
    OnWorker<int> asking(*reactor, *worker, [this] {
      begin.acquire();
      return 42;
    });
    const int value = co_await asking;
    answer = value;
  }
  std::unique_ptr<Reactor> reactor = make_reactor();
  std::unique_ptr<Worker> worker = std::make_unique<Worker>();
  std::binary_semaphore begin{0};
  std::optional<int> answer;
};

TEST_F(WorkerTest, Answer_ComesHome) {
  Scope scope(*reactor);
  begin.release();
  scope.spawn(ask());
  while (!answer) reactor->turn(Reactor::Waiting::block);
  EXPECT_EQ(answer, 42);
}

// The answer resumes its flow at once, in the turn that finds it, and may be the last thing that happens: that turn must not sleep.
TEST_F(WorkerTest, AnswerThatIsThereBeforeTheTurn_EndsIt) {
  Scope scope(*reactor);
  scope.spawn(ask());
  reactor->turn(Reactor::Waiting::poll);
  begin.release();
  worker.reset();  // Carried out and told.
  reactor->turn(Reactor::Waiting::block);
  EXPECT_EQ(answer, 42);
}

// Before the job is carried out, and after it was carried out but before home hears of it.
TEST_F(WorkerTest, FlowThatEndsFirst_IsNotResumed) {
  for (const bool carried_out : {false, true}) {
    worker = std::make_unique<Worker>();
    auto scope = std::make_unique<Scope>(*reactor);
    scope->spawn(ask());
    reactor->turn(Reactor::Waiting::poll);
    if (carried_out) {
      begin.release();
      worker.reset();
      scope.reset();
    } else {
      scope.reset();
      begin.release();
      worker.reset();
    }
    reactor->turn(Reactor::Waiting::poll);
    EXPECT_FALSE(answer.has_value());
  }
}

}  // namespace
}  // namespace holdfast::io::test
