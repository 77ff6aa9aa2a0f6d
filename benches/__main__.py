"""`python -m benches`: every scenario against every proxy, then a dated report.

Arguments are those of `measure.py`; without any: all scenarios, all proxies, nine rounds.
"""

import sys

from benches import measure, report

if len(sys.argv) == 1:
    sys.argv += ["all", "--calls"]
STATUS = measure.main()
for written in report.write("peers"):
    print(written)
sys.exit(STATUS)
