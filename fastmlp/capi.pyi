# capi.pxd has what other Cython code finds here; Python code finds nothing.
