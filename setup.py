"""For Apache Beam's --setup_file and for older versions of pip; all settings are in setup.cfg."""

from setuptools import setup

setup()
