// Volumes as texts: the pieces that several commands print.
#pragma once

#include <boost/json.hpp>

#include <string>

namespace holdfast::cli {

std::string size_at(const boost::json::object& object, std::string_view key);
std::string health_text(const boost::json::object& volume);
std::string volume_table(const boost::json::array& volumes);

}  // namespace holdfast::cli
