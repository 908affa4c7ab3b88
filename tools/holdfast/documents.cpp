#include "tools/holdfast/documents.h"

#include <ostream>

namespace holdfast::cli {

namespace json = boost::json;

std::string text_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}
std::uint64_t number_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (!value) return 0;
  if (value->is_uint64()) return value->get_uint64();
  return value->is_int64() && value->get_int64() >= 0 ? static_cast<std::uint64_t>(value->get_int64()) : 0;
}
json::object object_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value && value->is_object() ? value->get_object() : json::object();
}
json::array array_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value && value->is_array() ? value->get_array() : json::array();
}

namespace {

int unreachable(const Client& client, Output output, const Error& error) {
  output.err << "holdfast: cannot reach " << client.server().text() << ": " << error.message << "\n";
  if (error.code == Errc::timed_out) {
    output.err << "The command may still be under way: look with `holdfast status`.\n";
  } else {
    output.err << "Is holdfastd running (systemctl status holdfastd)? Say where it is with --server or HOLDFAST_SERVER.\n";
  }
  return kUnreachable;
}

int refused(Output output, const Answer& answer) {
  json::error_code error;
  const json::value body = json::parse(answer.body, error);
  if (error || !body.is_object() || text_at(body.get_object(), "detail").empty()) {
    output.err << "holdfast: the server answered with HTTP status " << answer.status
               << " and no reason; is it holdfastd that listens there?\n";
    return kRefused;
  }
  if (output.format == Format::json) output.out << answer.body;
  const std::string field = text_at(body.get_object(), "field");
  output.err << "holdfast: " << (field.empty() ? "" : field + ": ") << text_at(body.get_object(), "detail") << "\n";
  if (answer.status == 401) output.err << "Give the token with --token-file or HOLDFAST_TOKEN_FILE.\n";
  return kRefused;
}

}  // namespace

Document ask(Client& client, Output output, Question question) {
  const auto answer = client.send(std::move(question.method), std::move(question.target), std::move(question.body), question.timeout_ms);
  if (!answer) return {unreachable(client, output, answer.error()), std::nullopt};
  const bool good = (answer->status >= 200 && answer->status <= 299) || answer->status == question.accepted_status;
  if (!good) return {refused(output, *answer), std::nullopt};
  if (answer->body.empty()) return {kOk, json::object()};
  json::error_code error;
  json::value body = json::parse(answer->body, error);
  if (error || !body.is_object()) {
    output.err << "holdfast: " << client.server().text() << " did not answer with a JSON document; is it holdfastd?\n";
    return {kUnreachable, std::nullopt};
  }
  if (output.format == Format::json) output.out << answer->body;
  return {kOk, std::move(body.get_object())};
}

}  // namespace holdfast::cli
