// A kernel or a container that forbids io_uring: the message must say what forbids it and what to do.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "io/reactor.h"

namespace holdfast::io {
namespace {

// As a container's profile does it: io_uring_setup answers with an errno, everything else passes.
bool forbid_io_uring(int error_number) {
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error_number)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// The text of the error a process under such a filter gets; empty when it got none.
std::string refusal_in_child(int error_number) {
  std::array<int, 2> ends{};
  EXPECT_EQ(0, ::pipe(ends.data()));
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = "no filter";
    if (forbid_io_uring(error_number)) {
      const auto reactor = Reactor::create({.buffer_bytes = 1 << 20});
      text = reactor ? "" : reactor.error().text();
    }
    const auto written = ::write(ends[1], text.data(), text.size());
    ::_exit(written < 0);
  }
  ::close(ends[1]);
  std::string text;
  std::array<char, 1024> part{};
  for (ssize_t n; (n = ::read(ends[0], part.data(), part.size())) > 0;) text.append(part.data(), static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return text;
}

TEST(IoUringRefusal, SeccompEperm_NamesTheProfile) {
  const std::string text = refusal_in_child(EPERM);
  EXPECT_NE(text.find("permission denied: io_uring is refused (EPERM)"), std::string::npos) << text;
  EXPECT_NE(text.find("seccomp profile"), std::string::npos) << text;
}

TEST(IoUringRefusal, SeccompEnosys_NamesKernelAndProfile) {
  const std::string text = refusal_in_child(ENOSYS);
  EXPECT_NE(text.find("unsupported: io_uring is not available (ENOSYS)"), std::string::npos) << text;
  EXPECT_NE(text.find("seccomp"), std::string::npos) << text;
  EXPECT_NE(text.find("6.1"), std::string::npos) << text;
}

}  // namespace
}  // namespace holdfast::io
