"""What crosses a boundary: events, dead letters, commit notices and the Arrow schema of the table.

Nothing here does I/O, and nothing here imports another package of the project.
"""
