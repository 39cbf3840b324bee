"use strict";

// Adds rows to the table of assertions; without it the spare rows are there all the same.
document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-add-assertion]");
    if (!button) {
        return;
    }
    const table = button.closest("[data-assertions]");
    const row = table.querySelector("template").innerHTML.replaceAll("__row__", table.dataset.next);
    table.dataset.next = Number(table.dataset.next) + 1;
    table.querySelector("tbody").insertAdjacentHTML("beforeend", row);
    table.querySelector("tbody tr:last-child select").focus();
});
