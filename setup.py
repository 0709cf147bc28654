"""Lets older versions of pip make editable installs; all settings are in setup.cfg."""

from setuptools import setup

setup()
