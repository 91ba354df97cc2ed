"""Memory that the zygote arranges for its workers."""

import subprocess
import sys

import pytest

FILL = """
import gc
from evaluators.processes import pages

pages.reserve()
words = [str(i) for i in range(100_000)]  # every other one becomes a hole
del words[::2]
gc.collect()
regions = [(region.start, region.end) for region in pages._regions()]
pages.fill_holes()
objects = [str(i) for i in range(100)]
print(sum(any(start <= id(one) < end for start, end in regions) for one in objects))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the zygote arranges memory on Linux only")
def test_new_objects_lie_in_memory_that_was_mapped_after_holes_were_filled():
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
