"use strict";

// Shows the preview of an import below its form, so that the chosen file stays chosen.
(() => {
    const WORKING = "Reading the file…";
    const AWAY = "The preview is not available at the moment.";

    const show = async (form, button, box) => {
        const sent = new FormData(form);
        sent.append(button.name, button.value);
        box.textContent = WORKING;
        try {
            const response = await fetch(form.action, { method: "POST", body: sent });
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            const found = page.getElementById("preview-of-import");
            found?.querySelector(".es-back")?.remove();
            box.replaceChildren(found ?? AWAY);
        } catch {
            box.textContent = AWAY;
        }
    };

    document.addEventListener("DOMContentLoaded", () => {
        const form = document.getElementById("import");
        const box = document.getElementById("import-preview");
        form?.addEventListener("submit", (event) => {
            if (event.submitter?.name === "preview") {
                event.preventDefault();
                show(form, event.submitter, box);
            }
        });
        form?.addEventListener("change", () => box.replaceChildren());
    });
})();
