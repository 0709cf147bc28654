"""A flag for each setting; no other module reads one of these flags."""

from __future__ import annotations

import dataclasses

from absl import flags

from dsg_tf.config.settings import Config, typed
from dsg_tf.config.systems import for_system


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag per field of `Config`."""
    for field in dataclasses.fields(Config):
        help_text, choices = field.metadata["help"], field.metadata["choices"]
        if isinstance(field.default, bool):
            flags.DEFINE_boolean(field.name, field.default, help_text, flag_values=values)
        elif choices:
            flags.DEFINE_enum(field.name, field.default, choices, help_text, flag_values=values)
        elif isinstance(field.default, int):
            flags.DEFINE_integer(field.name, field.default, help_text, flag_values=values)
        elif isinstance(field.default, float):
            flags.DEFINE_float(field.name, field.default, help_text, flag_values=values)
        elif isinstance(field.default, str):
            flags.DEFINE_string(field.name, field.default, help_text, flag_values=values)
        elif isinstance(field.default, tuple):
            flags.DEFINE_list(field.name, [str(value) for value in field.default], help_text, flag_values=values)
        else:
            flags.DEFINE_list(field.name, str(field.default).split(","), help_text, flag_values=values)


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """The settings that the command line and its flag files give.

    Raises:
      ValueError: a value out of range, or values that do not go together; names the flags.
    """
    config = typed({field.name: values[field.name].value for field in dataclasses.fields(Config)})
    return for_system(config, config.system)
