// The store that ships.
#pragma once

#include "test/crash/fake_store.h"
#include "test/crash/process.h"

namespace holdfast::crash {

#ifdef HOLDFAST_HAS_STORE
inline const StoreMaker kRealStore{&Group::format, &Group::open};
#else
inline const StoreMaker kRealStore = kFakeStore;
#endif

}  // namespace holdfast::crash
