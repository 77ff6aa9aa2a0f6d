"""What every measurement shares: processes, CPU time, rounds, statistics, verdicts, reports."""
