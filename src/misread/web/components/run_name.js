// How a run is called in the lists of runs.

/** The title that the reader gave; else recipe and data, or the folder where these are not known. run: a row of `/api/runs`. */
export const runName = (run) => run.title || (run.recipe ? `${run.recipe}, ${run.data}` : run.name);
