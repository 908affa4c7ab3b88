#include "test/torture/result.h"

#include <algorithm>
#include <boost/json.hpp>
#include <iomanip>
#include <map>
#include <sstream>

namespace holdfast::torture {
namespace json = boost::json;

std::string to_json(const RunResult& result) {
  json::object proofs, figures;
  for (const auto& [what, count] : result.proofs) proofs[what] = count;
  for (const auto& [name, value] : result.figures) figures[name] = value;
  return json::serialize(json::object{{"id", result.id},
                                      {"title", result.title},
                                      {"seed", result.seed},
                                      {"passed", result.passed},
                                      {"no_measure", result.no_measure},
                                      {"failure", result.failure},
                                      {"seconds", result.seconds},
                                      {"proofs", std::move(proofs)},
                                      {"figures", std::move(figures)}});
}

std::vector<RunResult> results_in(const std::string& text) {
  std::vector<RunResult> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    boost::system::error_code wrong;
    const json::value value = json::parse(line, wrong);
    if (wrong || !value.is_object() || !value.as_object().contains("figures")) continue;
    RunResult result;
    result.id = value.at("id").as_string();
    result.title = value.at("title").as_string();
    result.seed = value.at("seed").to_number<std::uint64_t>();
    result.passed = value.at("passed").as_bool();
    result.no_measure = value.as_object().contains("no_measure") && value.at("no_measure").as_bool();
    result.failure = value.at("failure").as_string();
    result.seconds = value.at("seconds").to_number<double>();
    for (const auto& proof : value.at("proofs").as_object()) result.proofs.emplace_back(proof.key(), proof.value().to_number<std::uint64_t>());
    for (const auto& figure : value.at("figures").as_object()) result.figures.emplace_back(figure.key(), figure.value().to_number<double>());
    out.push_back(std::move(result));
  }
  return out;
}

namespace {

struct Summary {
  std::string title;
  std::size_t runs = 0, passed = 0, no_measure = 0;
  std::string failure;  // The first.
  std::vector<std::string> names;
  std::map<std::string, std::vector<double>> figures;
};

// By id, in the order of their first run.
std::vector<std::pair<std::string, Summary>> summed_up(const std::vector<RunResult>& results) {
  std::vector<std::pair<std::string, Summary>> out;
  for (const RunResult& result : results) {
    auto at = std::find_if(out.begin(), out.end(), [&](const auto& entry) { return entry.first == result.id; });
    if (at == out.end()) at = out.insert(out.end(), {result.id, Summary{result.title, 0, 0, 0, {}, {}, {}}});
    Summary& summary = at->second;
    if (result.no_measure) {
      ++summary.no_measure;
      continue;
    }
    ++summary.runs;
    summary.passed += result.passed ? 1 : 0;
    if (!result.passed && summary.failure.empty()) summary.failure = result.failure;
    for (const auto& [name, value] : result.figures) {
      if (!summary.figures.contains(name)) summary.names.push_back(name);
      summary.figures[name].push_back(value);
    }
  }
  return out;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n') out += c;
  }
  return out;
}

}  // namespace

std::string table_of(const std::vector<RunResult>& results) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1);
  std::size_t runs = 0, passed = 0;
  for (auto& [id, summary] : summed_up(results)) {
    runs += summary.runs;
    passed += summary.passed;
    out << std::left << std::setw(6) << id << std::right << std::setw(3) << summary.passed << "/" << std::left << std::setw(4) << summary.runs << summary.title;
    for (const std::string& name : summary.names) {
      std::vector<double>& values = summary.figures[name];
      std::sort(values.begin(), values.end());
      out << "; " << name << " " << values[values.size() / 2];
      if (values.size() > 1) out << " (at most " << values.back() << ")";
    }
    out << "\n";
    if (summary.no_measure > 0) out << "        " << summary.no_measure << " more during which the machine itself stood still for too long\n";
    if (!summary.failure.empty()) out << "        " << summary.failure.substr(0, summary.failure.find('\n')) << "\n";
  }
  out << passed << " of " << runs << " passed\n";
  return out.str();
}

std::string junit_of(const std::vector<RunResult>& results) {
  std::ostringstream out;
  const auto failures = std::count_if(results.begin(), results.end(), [](const RunResult& r) { return !r.passed && !r.no_measure; });
  double seconds = 0;
  for (const RunResult& result : results) seconds += result.seconds;
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"torture\" tests=\"" << results.size() << "\" failures=\"" << failures << "\" time=\"" << seconds
      << "\">\n";
  for (const RunResult& result : results) {
    const auto dot = result.id.find_first_of("0123456789");
    out << "  <testcase classname=\"torture." << escaped(result.id.substr(0, dot)) << "\" name=\"" << escaped(result.id) << ": " << escaped(result.title) << "\" time=\""
        << result.seconds << "\">\n";
    if (result.no_measure) out << "    <skipped message=\"" << escaped(result.failure.substr(0, result.failure.find('\n'))) << "\"/>\n";
    else if (!result.passed) out << "    <failure message=\"" << escaped(result.failure.substr(0, result.failure.find('\n'))) << "\">" << escaped(result.failure) << "</failure>\n";
    out << "    <system-out>seed " << result.seed;
    for (const auto& [what, count] : result.proofs) out << "; " << count << " " << escaped(what);
    for (const auto& [name, value] : result.figures) out << "; " << escaped(name) << " " << value;
    out << "</system-out>\n  </testcase>\n";
  }
  out << "</testsuite>\n";
  return out.str();
}

}  // namespace holdfast::torture
