// Prints the letter that is shown.
document.getElementById('print').addEventListener('click', () => window.print());
