"""The program as a process: its start and its end, its files, its work on several cores and machines."""
