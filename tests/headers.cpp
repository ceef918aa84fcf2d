// Owns the precompiled header of the tests; CMake needs a source to make it for.
