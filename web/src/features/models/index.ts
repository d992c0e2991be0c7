export { ModelChoice } from "./model-choice";
export { ModelsDialog } from "./models-dialog";
export { modelStateWords, modelsQuery } from "./queries";
