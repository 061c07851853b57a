// A press on a button of the page's scripts, before they have come, is kept and given to them once they are there. The
// page waits for this script, and it is short; a form's own button needs none and goes its way.
{
  const early = new Set();
  const keep = event => {
    const button = event.target.closest('button[type=button]');
    if (!button) return;
    event.stopImmediatePropagation();
    early.add(button);
  };
  addEventListener('click', keep, true);
  addEventListener('DOMContentLoaded', () => { // after all modules ran
    removeEventListener('click', keep, true);
    for (const button of early) button.click();
  });

  let lame = false; // a script of the page did not come: its buttons and its news are dead, and somebody must say so
  const tell = () => { const note = document.getElementById('incomplete'); if (note) note.hidden = !lame; };
  addEventListener('error', ({ target }) => { if (target.tagName === 'SCRIPT') { lame = true; tell(); } }, true);
  addEventListener('DOMContentLoaded', tell);
}
