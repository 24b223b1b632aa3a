"""The command line: ``codec``, one file a verb. Nothing here imports torch before a network has to run."""
