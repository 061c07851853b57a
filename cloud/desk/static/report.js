// Keeps what is typed as a draft on the server, a moment after the typing stops.
const STILL_MS = 1500;
const form = document.getElementById('report-form');
const says = document.getElementById('draft-state');
let waiting = 0;
let going = Promise.resolve();

async function keep() {
  const answer = await fetch(form.dataset.draft, { method: 'POST', headers: { 'X-CSRF-Token': document.body.dataset.csrf }, body: new FormData(form) }).catch(() => null);
  if (answer?.ok) form.elements.melding.value = (await answer.json()).report;
  says.textContent = answer?.ok ? says.dataset.kept : says.dataset.lost;
}

form.addEventListener('input', () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { going = going.then(keep); }, STILL_MS);
});
form.addEventListener('submit', () => clearTimeout(waiting));
