// The reader's choice of light or dark, before anything is drawn; without one the system decides.
{
  const theme = localStorage.getItem("weimocir-theme");
  if (theme) document.documentElement.dataset.theme = theme;
}
