export { ModelPicker } from "./model-picker";
export { ModelsDialog } from "./models-dialog";
export { modelOfKey, modelStateWords, modelsQuery, useSaveWindow } from "./queries";
export { EffortChoice, PicturesSwitch, SearchSwitch } from "./reply-choices";
