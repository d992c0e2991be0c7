export { ModelChoice } from "./model-choice";
export { modelStateWords, modelsQuery } from "./queries";
