from fastmlp.kernels._baseline_float32 import *
