// Asking the node for a document, and reading what it answers.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>

#include "tools/holdfast/commands.h"

namespace holdfast::cli {

// The members a document should have; a missing or odd one reads as empty, so that another version's answer still shows.
std::string text_at(const boost::json::object& object, std::string_view key);
std::uint64_t number_at(const boost::json::object& object, std::string_view key);
boost::json::object object_at(const boost::json::object& object, std::string_view key);
boost::json::array array_at(const boost::json::object& object, std::string_view key);

struct Document {
  int code = kOk;  // What to exit with, when there is no document.
  std::optional<boost::json::object> body;
};

struct Question {
  std::string method;
  std::string target;
  std::string body;
  std::int64_t timeout_ms = 30'000;
  unsigned accepted_status = 0;  // Besides 2xx: then the document is the node's refusal.
};

// Sends, and reports everything but a good answer. Prints the answer when the output is JSON.
Document ask(Client& client, Output output, Question question);

}  // namespace holdfast::cli
