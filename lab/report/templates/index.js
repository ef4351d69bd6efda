"use strict";
/* Which verdicts are listed. */

const rows = [...document.querySelectorAll("#runs tbody tr")];
const boxes = [...document.querySelectorAll("input[data-verdict]")];

function listed() {
  const wanted = new Set(boxes.filter(each => each.checked).map(each => each.dataset.verdict));
  for (const row of rows) row.hidden = !wanted.has(row.dataset.verdict);
}

for (const each of boxes) each.addEventListener("change", listed);
