// Keeps what is typed as a draft on the server, a moment after the typing stops.
const STILL_MS = 1500;
const AGAIN_MS = 5000; // after a draft that could not be brought away
const form = document.getElementById('report-form');
const says = document.getElementById('draft-state');
let waiting = 0;
let going = Promise.resolve();

function keepIn(ms) {
  clearTimeout(waiting);
  waiting = setTimeout(() => { going = going.then(keep); }, ms);
}

async function keep() {
  let status = 0; // no answer
  try {
    const answer = await fetch(form.dataset.draft, { method: 'POST', headers: { 'X-CSRF-Token': document.body.dataset.csrf }, body: new FormData(form) });
    if (answer.ok) { form.elements.melding.value = (await answer.json()).report; says.textContent = says.dataset.kept; return; }
    status = answer.status;
  } catch { status = 0; } // or half of one
  const refused = status >= 400 && status < 500 && status !== 401 && status !== 429; // those pass
  says.textContent = refused ? says.dataset.refused : says.dataset.lost;
  if (!refused) keepIn(AGAIN_MS);
}

function isTyped(field) { // differs from what the server sent
  if (field.type === 'hidden') return false;
  if (field.options) return field.selectedIndex !== Math.max([...field.options].findIndex(option => option.defaultSelected), 0);
  if (field.type === 'checkbox' || field.type === 'radio') return field.checked !== field.defaultChecked;
  return 'defaultValue' in field && field.value !== field.defaultValue;
}

form.addEventListener('input', () => keepIn(STILL_MS));
form.addEventListener('submit', () => clearTimeout(waiting));
if ([...form.elements].some(isTyped)) keepIn(STILL_MS); // a fast thumb typed before this was here, or the browser brought it back
