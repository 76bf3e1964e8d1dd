"""What a process needs around its work: settings, metrics, logs, child processes, a broker."""
