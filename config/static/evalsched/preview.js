"use strict";

// Shows what the schedule that is being typed means: its sentence and its next times.
(() => {
    const FIELDS = [
        "schedule_type", "cron_expression", "timezone", "dst_gap", "dst_overlap",
        "suite", "endpoint", "agent", "concurrency", "repeats",
    ];
    let waiting = null;
    let asked = 0;

    const add = (parent, tag, text, className) => {
        const element = document.createElement(tag);
        element.textContent = text;
        element.className = className || "";
        parent.appendChild(element);
        return element;
    };

    const show = (box, answer) => {
        box.replaceChildren();
        for (const sentence of answer.errors || []) {
            add(box, "p", sentence, "bad");
        }
        if (answer.description) {
            add(box, "strong", answer.description);
            const list = add(box, "ul", "");
            for (const time of answer.occurrences) {
                const local = time.utc.startsWith(time.local) ? "" : `, ${time.local} there`;
                const note = time.note ? ` (${time.note})` : "";
                add(list, "li", `${time.utc}${local}, ${time.relative}${note}`);
            }
            for (const sentence of answer.warnings) {
                add(box, "p", sentence, "warn");
            }
        }
    };

    const refresh = async (box) => {
        const mine = ++asked;
        const query = new URLSearchParams();
        for (const name of FIELDS) {
            query.set(name, document.getElementById(`id_${name}`)?.value ?? "");
        }
        try {
            const response = await fetch(`${box.dataset.preview}?${query}`);
            const answer = await response.json();
            if (mine === asked) {
                show(box, answer);
            }
        } catch {
            show(box, { errors: ["The preview is not available at the moment."] });
        }
    };

    document.addEventListener("DOMContentLoaded", () => {
        const box = document.querySelector("[data-preview]");
        if (!box || !document.getElementById("id_schedule_type")) {
            return;
        }
        const soon = () => {
            clearTimeout(waiting);
            waiting = setTimeout(() => refresh(box), 250);
        };
        for (const name of FIELDS) {
            const input = document.getElementById(`id_${name}`);
            input?.addEventListener("input", soon);
            input?.addEventListener("change", soon);
        }
        refresh(box);
    });
})();
