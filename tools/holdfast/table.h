// Aligned columns for the terminal.
#pragma once

#include <string>
#include <vector>

namespace holdfast::cli {

enum class Align : unsigned char { left, right };

class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // As many cells as there are columns.
  void add(std::vector<std::string> cells);
  // Two spaces between columns, none at the end of a line.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "label:   value" lines, the values aligned.
std::string fields_text(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace holdfast::cli
