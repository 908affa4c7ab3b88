// How the group stands, as hosts are told: who may say it, and which answers count (docs/replication.md).
#include "test/role/machine_bench.h"

namespace holdfast::role_test {
namespace {

// ---- The primary.

struct Leading : MachineBench {
  Leading() {
    lead(5, {kMe, kOther, kThird});
    bring_up();
    bring_up(kThird, kThirdSession);
    ask_question(1);
    forget();
  }
  void ask_question(std::uint64_t question, std::uint64_t epoch = 5) { receive(AskView{Epoch(epoch), machine->bound().claim, question}); }
};

TEST(View, AskedOfAPrimaryWithItsLease_IsToldAtOnce) {
  Leading bench;
  bench.ask_question(2);
  const TellView* told = bench.sent<TellView>();
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->question, 2u);
  EXPECT_EQ(told->epoch, Epoch(5));
  EXPECT_EQ(told->view, (GroupView{kMe, {{kMe, true}, {kOther, true}, {kThird, true}}}));
}

TEST(View, MemberThatIsNotInSync_IsToldAsSuch) {
  Leading bench;
  bench.machine->disconnected(bench.now, kThird, kThirdSession, RoleMachine::LinkEnd::closed);
  for (int i = 0; i < 80; ++i) {
    bench.promise();
    bench.pass_ms(10);
  }
  const SwapRegister* swap = bench.asked<SwapRegister>();
  ASSERT_NE(swap, nullptr);
  bench.machine->swap_done(bench.now, RoleMachine::SwapResult::applied, 3, swap->value);
  bench.promise();
  bench.ask_question(2);
  const TellView* told = bench.sent<TellView>();
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->view, (GroupView{kMe, {{kMe, true}, {kOther, true}, {kThird, false}}}));
}

// Somebody else may serve by now: nothing is said before the promises are there again.
TEST(View, AskedOfAPrimaryWithoutItsLease_WaitsForThePromises) {
  Leading bench;
  bench.pass_ms(620);
  EXPECT_FALSE(bench.machine->knows_view(bench.now));
  bench.ask_question(2);
  bench.ask_question(3);
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
  bench.promise(kThird, kThirdSession);
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
  bench.promise();
  const TellView* told = bench.sent<TellView>();
  ASSERT_NE(told, nullptr);
  EXPECT_EQ(told->question, 3u);
}

TEST(View, AskedBeforeTheEpochIsOpen_IsToldWhenItIs) {
  MachineBench bench;
  bench.lead(5);
  bench.connect();
  const Bound bound = bench.machine->bound();
  bench.receive(MachineBench::hello_of(copy_of(kOther), Bound{bound.epoch, bound.claim, false}, bench.log.end.value - 1, {}));
  bench.promise();
  bench.receive(AskView{Epoch(5), bound.claim, 1});
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
  bench.receive(Ack{bound.epoch, bench.log.end});
  ASSERT_TRUE(bench.machine->is_open());
  EXPECT_NE(bench.sent<TellView>(), nullptr);
}

// From the moment at which nothing more is admitted the candidate holds what hosts ask it; a change that is given up is told.
TEST(View, AskedDuringAHandOver_WaitsForItsEnd) {
  Leading bench;
  ASSERT_TRUE(bench.machine->prepare_hand_over(kOther));
  EXPECT_FALSE(bench.machine->knows_view(bench.now));
  bench.ask_question(2);
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
  bench.machine->cancel_hand_over();
  bench.pass_ms(10);
  EXPECT_NE(bench.sent<TellView>(), nullptr);
}

TEST(View, AskedDuringAHandOver_IsNeverToldByTheOldPrimary) {
  Leading bench;
  ASSERT_TRUE(bench.machine->prepare_hand_over(kOther));
  bench.ask_question(2);
  ASSERT_TRUE(bench.machine->hand_over(bench.now, kOther));
  bench.ask_question(3);
  bench.pass_ms(100);
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
  EXPECT_NE(bench.asked<Cease>(), nullptr);
}

TEST(View, AskedInAnotherEpoch_IsNotTold) {
  Leading bench;
  bench.ask_question(2, 4);
  bench.ask_question(2, 6);
  EXPECT_EQ(bench.sent<TellView>(), nullptr);
}

// ---- A follower.

struct Asking : MachineBench {
  Asking() : MachineBench(Bound{Epoch(4), 9, false}) {
    append(4, 3);
    read(1, register_of(4, kOther, 9));
    connect();
    receive(beat_of(4, 9));
    forget();
  }
  void tell(std::uint64_t question, std::uint64_t epoch = 4, NodeId from = kOther, SessionId session = kSession) {
    receive(TellView{Epoch(epoch), 9, question, view}, from, session);
  }
  const GroupView view{kOther, {{kMe, true}, {kOther, true}}};
};

TEST(View, Follower_AsksItsPrimary_AndTakesItsAnswer) {
  Asking bench;
  const std::uint64_t question = bench.machine->ask_view();
  const AskView* asked = bench.sent<AskView>();
  ASSERT_NE(asked, nullptr);
  EXPECT_EQ(asked->question, question);
  EXPECT_EQ(bench.machine->view_told(question), nullptr);
  bench.tell(question);
  ASSERT_NE(bench.machine->view_told(question), nullptr);
  EXPECT_EQ(*bench.machine->view_told(question), bench.view);
}

TEST(View, AnswerToAnEarlierQuestion_DoesNotCount) {
  Asking bench;
  const std::uint64_t first = bench.machine->ask_view();
  const std::uint64_t second = bench.machine->ask_view();
  bench.tell(first);
  EXPECT_NE(bench.machine->view_told(first), nullptr);
  EXPECT_EQ(bench.machine->view_told(second), nullptr);
}

TEST(View, AnswerThatIsNotOfItsPrimary_DoesNotCount) {
  Asking bench;
  const std::uint64_t question = bench.machine->ask_view();
  bench.connect(kThird, kThirdSession);
  bench.tell(question, 4, kThird, kThirdSession);
  bench.tell(question, 3);
  bench.tell(question, 5);
  bench.tell(question + 1);  // Nobody asked.
  EXPECT_EQ(bench.machine->view_told(question), nullptr);
}

// Between hearing of a newer epoch and being bound to it nobody is followed.
TEST(View, AnswerWhileANewerEpochIsBound_DoesNotCount_AndItsPrimaryIsAsked) {
  Asking bench;
  const std::uint64_t question = bench.machine->ask_view();
  bench.connect(kThird, kThirdSession);
  bench.receive(bench.beat_of(5, 10), kThird, kThirdSession);
  bench.tell(question);
  EXPECT_EQ(bench.machine->view_told(question), nullptr);
  bench.machine->bound_done(bench.now, Bound{Epoch(5), 10, false});
  bench.forget();
  bench.receive(bench.beat_of(5, 10), kThird, kThirdSession);
  const AskView* again = bench.sent<AskView>(kThird);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->epoch, Epoch(5));
  EXPECT_EQ(again->question, question);
}

TEST(View, ConnectionLost_IsAskedAgainInTheNextOne) {
  Asking bench;
  const std::uint64_t question = bench.machine->ask_view();
  bench.machine->disconnected(bench.now, kOther, kSession, RoleMachine::LinkEnd::closed);
  bench.connect(kOther, kThirdSession);
  bench.forget();
  bench.receive(bench.beat_of(4, 9), kOther, kThirdSession);
  const AskView* again = bench.sent<AskView>();
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->question, question);
  bench.tell(question, 4, kOther, kThirdSession);
  EXPECT_NE(bench.machine->view_told(question), nullptr);
  // What is answered is not asked again.
  bench.machine->disconnected(bench.now, kOther, kThirdSession, RoleMachine::LinkEnd::closed);
  bench.connect(kOther, kSession);
  bench.forget();
  bench.receive(bench.beat_of(4, 9), kOther, kSession);
  EXPECT_EQ(bench.sent<AskView>(), nullptr);
}

TEST(View, WithoutAPrimary_NothingIsAskedUntilThereIsOne) {
  MachineBench bench(Bound{Epoch(4), 9, false});
  bench.append(4, 3);
  bench.read(1, MachineBench::register_of(4, kOther, 9));
  const std::uint64_t question = bench.machine->ask_view();
  EXPECT_EQ(bench.sent<AskView>(), nullptr);
  bench.connect();
  bench.receive(bench.beat_of(4, 9));
  EXPECT_NE(bench.sent<AskView>(), nullptr);
  EXPECT_EQ(bench.machine->view_told(question), nullptr);
}

}  // namespace
}  // namespace holdfast::role_test
