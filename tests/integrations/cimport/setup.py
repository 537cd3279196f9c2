from Cython.Build import cythonize
from setuptools import Extension, setup

setup(py_modules=["check"], ext_modules=cythonize([Extension("fastmlp_user", ["fastmlp_user.pyx"])]))
