"""What a run came to, for people (one HTML file that needs no network) and for programs (JSON, JUnit).

No number is reckoned here that a finding has: all three forms show what the findings say.  Reading order:
`plain` (texts that can do no harm), `facts` (what is known beside the history), `verdict` (one sentence),
`steps` (connect, TLS, first byte), `document` (the JSON that everything else is made from), `runs` and
`lanes` (the timeline, run by run of equal answers), `observed` (leaders, holders, nodes), `picture` (all that
is drawn), `page` (one run), `stored` (from records alone), `repeated` and `index` (many runs), `junit`.
"""

from lab.report.document import as_json
from lab.report.index import Entry, index_json, write_index
from lab.report.junit import cases, properties, write_junit
from lab.report.page import write_html
from lab.report.stored import facts_of, write_run

__all__ = [
    "Entry",
    "as_json",
    "cases",
    "facts_of",
    "index_json",
    "properties",
    "write_html",
    "write_index",
    "write_junit",
    "write_run",
]
