// The pages of the lesson in their order.

import { normalisingPage } from "./01-normalising.js";
import { sequentialPage } from "./02-sequential.js";
import { layersPage } from "./03-layers.js";
import { activationsPage } from "./04-activations.js";
import { softmaxPage } from "./05-softmax.js";
import { flattenPage } from "./06-flatten.js";
import { densePage } from "./07-dense.js";
import { lossPage } from "./08-loss.js";
import { labelsPage } from "./09-sparse-one-hot.js";
import { optimizersPage } from "./10-optimizers.js";
import { adamPage } from "./11-adam.js";
import { metricsPage } from "./12-metrics.js";
import { batchesPage } from "./13-epochs-batches.js";
import { historyPage } from "./14-history.js";
import { evaluatePage } from "./15-evaluate.js";
import { argmaxPage } from "./16-argmax.js";
import { convolutionPage } from "./17-convolution.js";
import { paddingPage } from "./18-padding.js";
import { stridePage } from "./19-stride.js";
import { poolingPage } from "./20-max-pooling.js";
import { dropoutPage } from "./21-dropout.js";
import { overfittingPage } from "./22-overfitting.js";
import { featuresPage } from "./23-features.js";
import { misreadPage } from "./24-misread.js";

/**
 * A page: { id, needs: "run" | "model" | "images" | null, formula, show(stage, lesson) -> stop or nothing }.
 * Its words are in the message catalogue: lesson.<id>.title, .text and .try.
 */
export const pages = [
  normalisingPage, sequentialPage, layersPage, activationsPage, softmaxPage, flattenPage, densePage, lossPage, labelsPage,
  optimizersPage, adamPage, metricsPage, batchesPage, historyPage, evaluatePage, argmaxPage, convolutionPage, paddingPage,
  stridePage, poolingPage, dropoutPage, overfittingPage, featuresPage, misreadPage,
];
