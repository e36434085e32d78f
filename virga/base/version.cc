#include "virga/base/version.h"

namespace virga {

std::string created_by() { return "virga " VIRGA_VERSION; }

}  // namespace virga
