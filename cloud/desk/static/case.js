// Shows the fields of a demand only when the case is one.
const form = document.getElementById('case-form');
const demand = document.getElementById('demand');
function show() {
  const on = form.elements.soort.value === demand.dataset.for;
  demand.hidden = !on;
  for (const field of demand.querySelectorAll('input')) field.required = on;
}
form.addEventListener('change', show);
show();
