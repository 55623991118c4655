"""The list of packages; everything else about the distribution is in setup.cfg."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["taskflow", "taskflow.*"]), "taskflow._sql", "taskflow._migrations"])
