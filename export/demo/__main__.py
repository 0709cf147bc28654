"""`python -m export.demo`."""

from export.demo import command

if __name__ == "__main__":
    command.run()
