# cython: language_level=3
include "body.pxi"
