"""For Apache Beam's --setup_file and for older versions of pip, and what setup.cfg cannot say: where models go."""

import os

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithModels(build_py):
    """A checkout has `models/` beside the package; a wheel has it inside, where no other package can have one."""

    def run(self):
        super().run()
        if os.path.isdir("models") and not self.editable_mode:
            self.copy_tree("models", os.path.join(self.build_lib, "dsg_tf", "models"))


setup(cmdclass={"build_py": BuildWithModels})
