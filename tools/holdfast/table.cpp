#include "tools/holdfast/table.h"

#include <algorithm>

#include "base/ensure.h"

namespace holdfast::cli {

void Table::add(std::vector<std::string> cells) {
  ENSURE(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  std::string out;
  const auto line = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string padding(widths[i] - cell.size(), ' ');
      text.append(i == 0 ? "" : "  ").append(columns_[i].align == Align::right ? padding + cell : cell + padding);
    }
    while (text.ends_with(' ')) text.pop_back();
    out.append(text).append("\n");
  };
  line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) line([&](std::size_t i) -> const std::string& { return row[i]; });
  return out;
}

std::string fields_text(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::size_t width = 0;
  for (const auto& [label, value] : fields) width = std::max(width, label.size());
  std::string out;
  for (const auto& [label, value] : fields) {
    if (value.empty()) continue;
    out.append(label).append(":").append(width - label.size() + 2, ' ').append(value).append("\n");
  }
  return out;
}

}  // namespace holdfast::cli
