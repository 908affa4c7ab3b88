// How a scenario ends early: one sentence that says what is not as it must be.
#pragma once

#include <stdexcept>
#include <string>

namespace holdfast::torture {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A pause that the machine itself explains: it stood still for at least as long as the pause was too long. Says nothing about Holdfast.
struct StoodStill : Failure {
  using Failure::Failure;
};

inline void require(bool holds, const std::string& otherwise) {
  if (!holds) throw Failure(otherwise);
}

// What a system call left in errno.
std::string system_text();
inline void require_call(bool worked, const std::string& what) {
  if (!worked) throw Failure(what + ": " + system_text());
}

}  // namespace holdfast::torture
