"""The zygote, the workers it forks, and what is said between them and the trusted process."""
