/* Choosing a backend: the registry, and the strings that name entries of it.
 *
 *     string = "auto" | entry { "," entry }          entry = name [ ":" index ]
 *
 * without blanks; "auto" stands alone and means every backend in the registry's order, device 0 of each. */
#ifndef NORMA_FRONT_SELECT_H
#define NORMA_FRONT_SELECT_H

#include "../backend.h"

typedef struct norma_registered {
    const char *name;
    const norma_backend *backend; /* NULL if it is not in this build */
    const char *how;              /* to get it then */
} norma_registered;

typedef struct norma_registry {
    const norma_registered *entries;
    int count;
} norma_registry;

/* The backends of backend_list.h. */
extern const norma_registry norma_backends;

#define NORMA_MAX_CHOICES 16

typedef struct norma_choice {
    int entry; /* of the registry */
    int index; /* of the device */
} norma_choice;

typedef struct norma_choices {
    const char *source; /* what the text came from: "desc.backend", "NORMA_BACKEND" */
    bool automatic;
    int count;
    norma_choice choice[NORMA_MAX_CHOICES];
} norma_choices;

/* Reads a backend string. */
norma_status norma_choices_parse(const norma_registry *registry, const char *source, const char *text,
                                 norma_choices *out_choices);

/* Whether that backend has that device: NORMA_ERROR_BACKEND_NOT_BUILT, NO_DEVICE or DEVICE_INDEX if not. */
norma_status norma_choice_probe(const norma_registry *registry, norma_choice choice);

/* Opens the first of `choices` that can be opened; desc's index is set from it. One alone that cannot gives its own status;
 * of several, the first one's, and a sentence with every reason. */
norma_status norma_choices_open(const norma_registry *registry, const norma_choices *choices, norma_open_desc desc,
                                norma_context **out_context);

#endif
